package samples;

@RestController
class PingController {
  @GetMapping("/ping")
  String ping(@RequestParam String host, HttpServletRequest request) throws IOException {
    // ruleid: java-command-injection
    Runtime.getRuntime().exec("ping -c 1 " + host);
    // ruleid: java-command-injection
    new ProcessBuilder("sh", "-c", "ping -c 1 " + request.getParameter("host")).start();
    // ok: java-command-injection
    new ProcessBuilder("ping", "-c", "1", HOSTS.get(host)).start();
    // ruleid: java-missing-input-validation-number
    int count = Integer.parseInt(request.getParameter("count"));
    // ok: java-command-injection
    new ProcessBuilder("ping", "-c", String.valueOf(count), "localhost").start();
    // ok: java-command-injection
    Runtime.getRuntime().exec("uptime");
    return "done";
  }

  void pack(String folder, String target) throws IOException {
    // ruleid: java-command-injection-shell
    Runtime.getRuntime().exec("tar czf " + target + " " + folder);
    // ruleid: java-command-injection-shell
    new ProcessBuilder("/bin/sh", "-c", "tar czf out.tgz " + folder).start();
    // ok: java-command-injection-shell
    new ProcessBuilder("tar", "czf", target, folder).start();
    // ok: java-command-injection-shell
    Runtime.getRuntime().exec(new String[] {"tar", "czf", target, folder});
  }
}
