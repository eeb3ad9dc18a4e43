<?php
try {
    charge();
// ruleid: php-swallowed-errors-empty-catch
} catch (Exception $e) {
}
try {
    verify();
// ruleid: php-swallowed-errors-empty-catch
} catch (\Throwable) { }
try {
    remove();
// ok: php-swallowed-errors-empty-catch
} catch (NotFoundException $e) {
}
try {
    charge();
// ok: php-swallowed-errors-empty-catch
} catch (Exception $e) {
    $logger->error($e->getMessage());
}

// ruleid: php-swallowed-errors-suppressed
$result = @mysqli_query($link, $query);
// ruleid: php-swallowed-errors-suppressed
@move_uploaded_file($from, $to);
// ok: php-swallowed-errors-suppressed
$result = mysqli_query($link, $query);
// ok: php-swallowed-errors-suppressed
@unlink($lock);
// ok: php-swallowed-errors-suppressed
$result = @mysqli_query($link, $query) or die('no answer');

// ruleid: php-swallowed-errors-reporting-off
error_reporting(0);
// ruleid: php-swallowed-errors-reporting-off
ini_set('log_errors', '0');
// ok: php-swallowed-errors-reporting-off
error_reporting(E_ALL);
// ok: php-swallowed-errors-reporting-off
ini_set('display_errors', '0');
