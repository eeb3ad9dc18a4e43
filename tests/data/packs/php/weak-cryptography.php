<?php
// ruleid: php-weak-cryptography-password-hash
$hash = md5($password);
// ruleid: php-weak-cryptography-password-hash
$hash = sha1($salt . $_POST['password']);
// ruleid: php-weak-cryptography-password-hash
$hash = hash('sha256', $password);
// ok: php-weak-cryptography-password-hash
$hash = password_hash($password, PASSWORD_DEFAULT);
// ok: php-weak-cryptography-password-hash
$key = md5($filename);
// ok: php-weak-cryptography-password-hash
$same = hash('sha256', $contents);

// ruleid: php-weak-cryptography-cipher
$text = openssl_encrypt($data, 'aes-128-ecb', $key);
// ruleid: php-weak-cryptography-cipher
$text = openssl_encrypt($data, 'DES-EDE3-CBC', $key, 0, $iv);
// ruleid: php-weak-cryptography-cipher
$text = mcrypt_encrypt(MCRYPT_RIJNDAEL_128, $key, $data, MCRYPT_MODE_CBC);
// ok: php-weak-cryptography-cipher
$text = openssl_encrypt($data, 'aes-256-gcm', $key, OPENSSL_RAW_DATA, $iv, $tag);
// ok: php-weak-cryptography-cipher
$text = sodium_crypto_secretbox($data, $nonce, $key);

// ruleid: php-weak-cryptography-random
$token = md5(uniqid(mt_rand(), true));
// ruleid: php-weak-cryptography-random
$user->resetToken = mt_rand(100000, 999999);
// ruleid: php-weak-cryptography-random
$password = substr(sha1(rand()), 0, 8);
// ok: php-weak-cryptography-random
$token = bin2hex(random_bytes(32));
// ok: php-weak-cryptography-random
$delay = mt_rand(1, 5);

// ruleid: php-weak-cryptography-short-key
$pair = openssl_pkey_new(['private_key_bits' => 1024, 'private_key_type' => OPENSSL_KEYTYPE_RSA]);
// ruleid: php-weak-cryptography-short-key
$pair = openssl_pkey_new(array('digest_alg' => 'sha256', 'private_key_bits' => 512));
// ok: php-weak-cryptography-short-key
$pair = openssl_pkey_new(['private_key_bits' => 4096]);
// ok: php-weak-cryptography-short-key
$pair = openssl_pkey_new(['private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1']);
