package samples;

class Cookies {
  void plain(HttpServletResponse response, String id) {
    Cookie cookie = new Cookie("session", id);
    // ruleid: java-insecure-cookies
    response.addCookie(cookie);
  }

  void half(HttpServletResponse response, String id) {
    Cookie cookie = new Cookie("session", id);
    cookie.setHttpOnly(true);
    // ruleid: java-insecure-cookies
    response.addCookie(cookie);
  }

  void full(HttpServletResponse response, String id) {
    Cookie cookie = new Cookie("session", id);
    cookie.setHttpOnly(true);
    cookie.setSecure(true);
    // ok: java-insecure-cookies
    response.addCookie(cookie);
  }

  void gone(HttpServletResponse response) {
    Cookie cookie = new Cookie("session", "");
    cookie.setMaxAge(0);
    // ok: java-insecure-cookies
    response.addCookie(cookie);
  }

  void off(Cookie cookie, SessionCookieConfig config, String id) {
    // ruleid: java-insecure-cookies-off
    cookie.setHttpOnly(false);
    // ruleid: java-insecure-cookies-off
    config.setSecure(false);
    // ok: java-insecure-cookies-off
    cookie.setSecure(true);
    // ok: java-insecure-cookies-off
    config.setHttpOnly(true);
  }

  void built(String id) {
    // ruleid: java-insecure-cookies-builder
    ResponseCookie.from("session", id).path("/").build();
    // ruleid: java-insecure-cookies-builder
    ResponseCookie.from("session", id).httpOnly(true).build();
    // ok: java-insecure-cookies-builder
    ResponseCookie.from("session", id).httpOnly(true).secure(true).sameSite("Lax").build();
    // ok: java-insecure-cookies-builder
    ResponseCookie.from("session", "").maxAge(0).build();
  }
}
