package samples;

class Worker {
  void run() {
    try {
      work();
    // ruleid: java-swallowed-errors
    } catch (Exception e) {
    }
    try {
      work();
    // ruleid: java-swallowed-errors
    } catch (IOException e) {
    } finally {
      done();
    }
    try {
      work();
    // ok: java-swallowed-errors
    } catch (Exception e) {
      log.warn("work failed", e);
    }
    try {
      work();
    // ok: java-swallowed-errors
    } catch (Exception e) {
      // The next round does it again.
    }
    try {
      work();
    // ok: java-swallowed-errors
    } catch (NumberFormatException e) {
    }
  }

  boolean verifySignature(byte[] data) {
    try {
      return check(data);
    // ruleid: java-swallowed-errors-trust
    } catch (GeneralSecurityException e) {
      return true;
    }
  }

  boolean isValidToken(String token) {
    try {
      return check(token);
    // ruleid: java-swallowed-errors-trust
    } catch (Exception e) {
      log.warn("no check", e);
      return true;
    }
  }

  boolean isTrusted(String token) {
    try {
      return check(token);
    // ok: java-swallowed-errors-trust
    } catch (Exception e) {
      return false;
    }
  }

  boolean isTokenInvalid(String token) {
    try {
      return !check(token);
    // ok: java-swallowed-errors-trust
    } catch (Exception e) {
      return true;
    }
  }
}
