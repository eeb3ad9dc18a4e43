<?php
function show_form()
{
    $tab = $_GET['tab'];
    // ruleid: php-cross-site-scripting
    echo '<input type="hidden" name="tab" value="' . $tab . '">';
    // ruleid: php-cross-site-scripting
    printf('<h2>%s</h2>', wp_unslash($_POST['title']));
    // ok: php-cross-site-scripting
    echo '<input type="hidden" name="tab" value="' . esc_attr($tab) . '">';
    // ok: php-cross-site-scripting
    printf('<h2>%s</h2>', esc_html(wp_unslash($_POST['title'])));
    // ok: php-cross-site-scripting
    echo wp_kses_post($_POST['body']);
    // ok: php-cross-site-scripting
    echo $tab === 'all' ? 'active' : '';
}
