<?php
// ruleid: php-missing-input-validation-extract
extract($_POST);
// ruleid: php-missing-input-validation-extract
parse_str($_SERVER['QUERY_STRING']);
// ok: php-missing-input-validation-extract
extract($_GET, EXTR_SKIP);
// ok: php-missing-input-validation-extract
parse_str($_SERVER['QUERY_STRING'], $fields);
// ok: php-missing-input-validation-extract
extract($defaults);

// ruleid: php-missing-input-validation-regexp
preg_match('/' . $_GET['pattern'] . '/', $text);
$word = $_POST['word'];
// ruleid: php-missing-input-validation-regexp
$text = preg_replace("/\b$word\b/i", '', $text);
// ok: php-missing-input-validation-regexp
preg_match('/' . preg_quote($_GET['pattern'], '/') . '/', $text);
// ok: php-missing-input-validation-regexp
preg_match('/^[a-z]+$/', $_GET['name']);
