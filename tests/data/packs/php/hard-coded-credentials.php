<?php
// ruleid: php-hard-coded-credentials
$db = new mysqli('localhost', 'app', 'not-a-real-one', 'shop');
// ruleid: php-hard-coded-credentials
$pdo = new PDO('mysql:host=localhost;dbname=shop', 'app', 'not-a-real-one');
// ruleid: php-hard-coded-credentials
$token = JWT::encode($payload, 'not-a-real-one', 'HS256');
// ruleid: php-hard-coded-credentials
define('DB_PASSWORD', 'not-a-real-one');
// ok: php-hard-coded-credentials
$db = new mysqli('localhost', 'app', getenv('DB_PASSWORD'), 'shop');
// ok: php-hard-coded-credentials
$pdo = new PDO('mysql:host=localhost;dbname=shop', 'root', '');
// ok: php-hard-coded-credentials
define('DB_PASSWORD', getenv('DB_PASSWORD'));
// ok: php-hard-coded-credentials
define('DB_PASSWORD', 'your-password-here');

// ruleid: php-hard-coded-credentials-setting
$db_password = 'not-a-real-1';
// ruleid: php-hard-coded-credentials-setting
$config['smtp_pass'] = 'not-a-real-1';
// ok: php-hard-coded-credentials-setting
$db_password = getenv('DB_PASSWORD');
// ok: php-hard-coded-credentials-setting
$config['smtp_pass'] = '';
// ok: php-hard-coded-credentials-setting
$client_secret = 'client_secret';
