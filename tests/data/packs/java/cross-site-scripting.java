package samples;

class GreetingServlet extends HttpServlet {
  protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String name = request.getParameter("name");
    // ruleid: java-cross-site-scripting
    response.getWriter().println("<p>Hello " + name + "</p>");
    PrintWriter out = response.getWriter();
    // ruleid: java-cross-site-scripting
    out.write("<p>" + name + "</p>");
    // ok: java-cross-site-scripting
    out.write("<p>" + HtmlUtils.htmlEscape(name) + "</p>");
    // ok: java-cross-site-scripting
    out.write("<p>" + Encode.forHtml(name) + "</p>");
  }

  protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
    response.setContentType("application/json");
    // ok: java-cross-site-scripting
    response.getWriter().println(request.getParameter("name"));
  }
}

@RestController
class GreetingController {
  @GetMapping("/hello")
  public String hello(@RequestParam String name) {
    // ruleid: java-cross-site-scripting-body
    return "<h1>Hello " + name + "</h1>";
  }

  @GetMapping("/hi")
  public ResponseEntity<String> hi(@RequestParam String name) {
    // ruleid: java-cross-site-scripting-body
    return ResponseEntity.ok("<h1>Hi " + name + "</h1>");
  }

  @GetMapping("/safe")
  public String safe(@RequestParam String name) {
    // ok: java-cross-site-scripting-body
    return "<h1>Hello " + HtmlUtils.htmlEscape(name) + "</h1>";
  }

  @GetMapping(value = "/plain", produces = MediaType.TEXT_PLAIN_VALUE)
  public String plain(@RequestParam String name) {
    // ok: java-cross-site-scripting-body
    return "Hello " + name;
  }
}
