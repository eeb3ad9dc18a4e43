<?php
// ruleid: php-tls-off
curl_setopt($handle, CURLOPT_SSL_VERIFYPEER, false);
// ruleid: php-tls-off
curl_setopt($handle, CURLOPT_SSL_VERIFYHOST, 0);
// ruleid: php-tls-off
$client = new Client(['base_uri' => $base, 'verify' => false]);
// ruleid: php-tls-off
$context = stream_context_create(['ssl' => ['verify_peer' => false]]);
// ruleid: php-tls-off
$answer = wp_remote_get($url, ['timeout' => 5, 'sslverify' => false]);
// ruleid: php-tls-off
$answer = Http::withoutVerifying()->get($url);
// ok: php-tls-off
curl_setopt($handle, CURLOPT_SSL_VERIFYPEER, true);
// ok: php-tls-off
curl_setopt($handle, CURLOPT_SSL_VERIFYHOST, 2);
// ok: php-tls-off
$client = new Client(['base_uri' => $base, 'verify' => '/etc/ssl/internal.pem']);
// ok: php-tls-off
$context = stream_context_create(['ssl' => ['verify_peer' => true]]);

// ruleid: php-tls-off-old-protocol
curl_setopt($handle, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_0);
// ruleid: php-tls-off-old-protocol
curl_setopt($handle, CURLOPT_SSLVERSION, 3);
// ok: php-tls-off-old-protocol
curl_setopt($handle, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
// ok: php-tls-off-old-protocol
curl_setopt($handle, CURLOPT_TIMEOUT, 3);
