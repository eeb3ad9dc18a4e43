<?php
// ruleid: php-path-traversal
readfile('reports/' . $_GET['file']);
$name = $_POST['name'];
// ruleid: php-path-traversal
$text = file_get_contents("notes/$name.txt");
// ruleid: php-path-traversal
unlink(UPLOADS . '/' . $name);
// ruleid: php-path-traversal
$answer = response()->download(storage_path($request->input('file')));
// ok: php-path-traversal
readfile('reports/' . basename($_GET['file']));
// ok: php-path-traversal
$body = file_get_contents('php://input');
// ok: php-path-traversal
$page = file_get_contents(PAGES[$_GET['page']]);
$full = realpath(ROOT . '/' . $_GET['path']);
if (!str_starts_with($full, ROOT . '/')) {
    exit;
}
// ok: php-path-traversal
readfile($full);

// ruleid: php-path-traversal-include
include 'pages/' . $_GET['page'];
$page = $_REQUEST['page'];
// ruleid: php-path-traversal-include
require_once("modules/{$page}.php");
// ok: php-path-traversal-include
include 'pages/header.php';
// ok: php-path-traversal-include
include __DIR__ . '/' . PAGES[$_GET['page']];
// ok: php-path-traversal-include
require 'pages/' . basename($_GET['page']) . '.php';

// ruleid: php-path-traversal-upload
move_uploaded_file($_FILES['photo']['tmp_name'], 'uploads/' . $_FILES['photo']['name']);
$target = 'uploads/' . basename($_FILES['photo']['name']);
// ruleid: php-path-traversal-upload
move_uploaded_file($_FILES['photo']['tmp_name'], $target);
$upload = $request->file('photo');
// ruleid: php-path-traversal-upload
$upload->move(public_path('photos'), $upload->getClientOriginalName());
// ok: php-path-traversal-upload
move_uploaded_file($_FILES['photo']['tmp_name'], 'uploads/' . bin2hex(random_bytes(16)) . '.jpg');
// ok: php-path-traversal-upload
$upload->move(storage_path('photos'), $upload->hashName());
