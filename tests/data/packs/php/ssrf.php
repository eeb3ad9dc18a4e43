<?php
$url = $_GET['url'];
// ruleid: php-ssrf
$handle = curl_init($url);
// ruleid: php-ssrf
curl_setopt($handle, CURLOPT_URL, 'http://' . $_POST['host'] . '/status');
// ruleid: php-ssrf
$response = $client->request('GET', $request->input('webhook'));
// ruleid: php-ssrf
$page = Http::get($request->input('page'));
// ruleid: php-ssrf
$feed = wp_remote_get($_POST['feed']);
// ok: php-ssrf
curl_setopt($handle, CURLOPT_URL, 'https://api.example.org/users/' . $_GET['id']);
// ok: php-ssrf
$user = Http::get("https://api.example.org/users/{$request->input('id')}");
// ok: php-ssrf
$found = Http::get('https://api.example.org/search', ['q' => $request->input('q')]);
// ok: php-ssrf
$feed = wp_safe_remote_get($_POST['feed']);
$known = $_GET['feed'];
if (!in_array($known, FEEDS, true)) {
    exit;
}
// ok: php-ssrf
$handle = curl_init($known);
