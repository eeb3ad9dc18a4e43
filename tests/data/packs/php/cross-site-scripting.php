<?php
// ruleid: php-cross-site-scripting
echo 'Hello ' . $_GET['name'];
$query = $_REQUEST['q'];
// ruleid: php-cross-site-scripting
print("<p>No hits for $query</p>");
if (!isset($_GET["page"])) {
    // ok: php-cross-site-scripting
    die("No page");
}
if ($missing) {
    // ruleid: php-cross-site-scripting
    die("Unknown page " . $_GET["page"]);
}
// ruleid: php-cross-site-scripting
$answer = new Response('<h1>' . $request->query->get('title') . '</h1>');
?>
<!-- ruleid: php-cross-site-scripting -->
<p><?= $_POST['comment'] ?></p>
<!-- ok: php-cross-site-scripting -->
<p><?= htmlspecialchars($_POST['comment'], ENT_QUOTES) ?></p>
<?php
// ok: php-cross-site-scripting
echo 'Page ' . (int) $_GET['page'];
// ok: php-cross-site-scripting
echo json_encode(['name' => $_GET['name']]);
// ok: php-cross-site-scripting
echo '<a href="/?q=' . urlencode($query) . '">again</a>';
// ok: php-cross-site-scripting
echo isset($_GET['name']) ? 'named' : 'nameless';
// ok: php-cross-site-scripting
echo LABELS[$_GET['label']] ?? '';
