<?php
$id = $_GET['id'];
// ruleid: php-sql-injection
$a = mysqli_query($link, "SELECT * FROM users WHERE id = '$id'");
$query = "SELECT * FROM users WHERE name = '" . $_POST['name'] . "'";
// ruleid: php-sql-injection
$b = $pdo->query($query);
// ruleid: php-sql-injection
$c = $conn->prepare("SELECT * FROM t WHERE a = ? ORDER BY {$_GET['sort']}");
$sql = sprintf("DELETE FROM t WHERE id = %s", $_REQUEST['id']);
// ruleid: php-sql-injection
$mysqli->query($sql);

$statement = $pdo->prepare('SELECT * FROM users WHERE id = :id');
// ok: php-sql-injection
$statement->execute(['id' => $id]);
// ok: php-sql-injection
$d = mysqli_query($link, "SELECT * FROM users WHERE id = " . (int) $id);
$name = mysqli_real_escape_string($link, $_POST['name']);
// ok: php-sql-injection
$e = mysqli_query($link, "SELECT * FROM users WHERE name = '$name'");
$column = $_GET['column'];
if (!in_array($column, SORTED, true)) {
    exit;
}
// ok: php-sql-injection
$f = $pdo->query("SELECT * FROM users ORDER BY $column");
// ok: php-sql-injection
$g = $pdo->query('SELECT * FROM users ORDER BY ' . COLUMNS[$_GET['by']]);
