<?php
// ruleid: php-unsafe-deserialisation
$cart = unserialize($_COOKIE['cart']);
$state = base64_decode($_POST['state']);
// ruleid: php-unsafe-deserialisation
$object = unserialize($state);
// ruleid: php-unsafe-deserialisation
$meta = maybe_unserialize(stripslashes($_POST['meta']));
// ok: php-unsafe-deserialisation
$list = unserialize($_COOKIE['list'], ['allowed_classes' => false]);
// ok: php-unsafe-deserialisation
$data = json_decode($_COOKIE['cart'], true);
// ok: php-unsafe-deserialisation
$cached = unserialize(file_get_contents(CACHE_FILE));
