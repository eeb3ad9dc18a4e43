<?php
// ruleid: php-open-redirect
header('Location: ' . $_GET['next']);
$target = $_POST['target'];
// ruleid: php-open-redirect
header("Location: $target");
// ruleid: php-open-redirect
wp_redirect($_GET['to']);
// ruleid: php-open-redirect
$answer = redirect($request->input('next'));
// ruleid: php-open-redirect
$answer = new RedirectResponse($request->query->get('next'));
// ok: php-open-redirect
header('Location: /orders/' . $_GET['id']);
// ok: php-open-redirect
header('Location: index.php?page=' . $_GET['page']);
// ok: php-open-redirect
header('X-Page: ' . (int) $_GET['page']);
// ok: php-open-redirect
wp_safe_redirect($_GET['to']);
// ok: php-open-redirect
$answer = redirect()->route('orders.show', ['id' => $request->input('id')]);
$known = $_GET['known'];
if (in_array($known, PAGES, true)) {
    // ok: php-open-redirect
    header("Location: $known");
}
