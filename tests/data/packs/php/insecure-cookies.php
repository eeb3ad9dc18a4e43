<?php
// ruleid: php-insecure-cookies
setcookie('theme', $theme, time() + 3600, '/', '', false, false);
// ruleid: php-insecure-cookies
setcookie('cart', $cart, ['expires' => 0, 'httponly' => false]);
// ruleid: php-insecure-cookies
ini_set('session.cookie_httponly', '0');
// ok: php-insecure-cookies
setcookie('theme', $theme, time() + 3600, '/', '', true, true);
// ok: php-insecure-cookies
setcookie('cart', $cart, ['secure' => true, 'httponly' => true, 'samesite' => 'Lax']);
// ok: php-insecure-cookies
ini_set('session.cookie_httponly', '1');

// ruleid: php-insecure-cookies-token
setcookie('auth_token', $value);
// ruleid: php-insecure-cookies-token
setcookie('rememberMe', $value, time() + 86400, '/');
// ok: php-insecure-cookies-token
setcookie('auth_token', $value, ['secure' => true, 'httponly' => true]);
// ok: php-insecure-cookies-token
setcookie('auth_token', '', time() - 3600);
// ok: php-insecure-cookies-token
setcookie('language', $language, time() + 86400);
