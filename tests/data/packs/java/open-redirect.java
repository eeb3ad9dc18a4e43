package samples;

@Controller
class LoginController {
  @GetMapping("/go")
  String go(@RequestParam String next, HttpServletRequest request, HttpServletResponse response) throws IOException {
    // ruleid: java-open-redirect
    response.sendRedirect(request.getParameter("next"));
    // ruleid: java-open-redirect
    return "redirect:" + next;
  }

  @GetMapping("/view")
  ModelAndView view(@RequestParam String next) {
    // ruleid: java-open-redirect
    return new ModelAndView("redirect:" + next);
  }

  @GetMapping("/owner")
  String owner(@RequestParam String id, HttpServletRequest request, HttpServletResponse response) throws IOException {
    // ok: java-open-redirect
    response.sendRedirect(request.getContextPath() + "/login?user=" + id);
    // ok: java-open-redirect
    response.sendRedirect("/login?user=" + id);
    // ok: java-open-redirect
    response.sendRedirect(TARGETS.get(id));
    // ok: java-open-redirect
    return "redirect:/owners/" + id;
  }
}
