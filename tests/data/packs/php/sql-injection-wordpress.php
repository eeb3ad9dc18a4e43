<?php
function list_entries()
{
    global $wpdb;
    // ruleid: php-sql-injection
    $a = $wpdb->get_results("SELECT * FROM {$wpdb->posts} WHERE post_title = '" . $_GET['title'] . "'");
    $order = sanitize_text_field($_GET['order']);
    // ruleid: php-sql-injection
    $b = $wpdb->get_var("SELECT ID FROM {$wpdb->posts} ORDER BY $order");
    // ruleid: php-sql-injection
    $prepared = $wpdb->prepare("DELETE FROM t WHERE a = '{$_POST['a']}' AND b = %d", 1);
    // ok: php-sql-injection
    $d = $wpdb->get_results($wpdb->prepare("SELECT * FROM t WHERE title = %s", $_GET['title']));
    // ok: php-sql-injection
    $e = $wpdb->get_row("SELECT * FROM t WHERE id = " . absint($_GET['id']));
    // ok: php-sql-injection
    $f = $wpdb->get_row("SELECT * FROM t WHERE title = '" . esc_sql($_GET['title']) . "'");
}
