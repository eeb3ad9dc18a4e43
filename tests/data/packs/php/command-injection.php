<?php
$host = $_GET['host'];
// ruleid: php-command-injection
exec("ping -c 1 " . $host, $lines);
// ruleid: php-command-injection
$out = shell_exec("nslookup {$_POST['name']}");
// ruleid: php-command-injection
passthru(sprintf('whois %s', $host));
// ruleid: php-command-injection
$process = Process::fromShellCommandline('convert ' . $request->query->get('file'));
// ruleid: php-command-injection
$handle = popen("cat $host", 'r');
// ruleid: php-command-injection
$log = `git log $host`;
// ok: php-command-injection
exec('ping -c 1 ' . escapeshellarg($host), $lines);
// ok: php-command-injection
$process = new Process(['ping', '-c', '1', $host]);
// ok: php-command-injection
$out = shell_exec('uptime');
// ok: php-command-injection
$out = shell_exec('head -n ' . (int) $_GET['lines'] . ' app.log');
// ok: php-command-injection
$rows = curl_exec($handle);

// ruleid: php-command-injection-eval
eval('$result = ' . $_POST['formula'] . ';');
$action = $_GET['action'];
// ruleid: php-command-injection-eval
call_user_func($action, 1);
// ok: php-command-injection-eval
call_user_func([$controller, 'show'], $_GET['id']);
$known = $_GET['known'];
if (in_array($known, ['open', 'close'], true)) {
    // ok: php-command-injection-eval
    call_user_func($known);
}
