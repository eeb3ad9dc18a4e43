package samples;

class Settings {
  // ruleid: java-hard-coded-credentials
  private static final String PASSWORD = "Sample-value-42";
  // ok: java-hard-coded-credentials
  private static final String PASSWORD_PROPERTY = "app.Password2";
  // ok: java-hard-coded-credentials
  private static final String SECRET = System.getenv("SECRET");
  // ok: java-hard-coded-credentials
  private static final String API_KEY = "${API_KEY}";

  void connect(String url, String user, String given) throws Exception {
    // ruleid: java-hard-coded-credentials
    String apiKey = "Sample-value-43";
    // ok: java-hard-coded-credentials
    String password = given;
    // ruleid: java-hard-coded-credentials-argument
    DriverManager.getConnection(url, user, "Sample-value-42");
    // ruleid: java-hard-coded-credentials-argument
    new SecretKeySpec("Sample-value-42".getBytes(UTF_8), "HmacSHA256");
    // ok: java-hard-coded-credentials-argument
    DriverManager.getConnection(url, user, given);
    // ok: java-hard-coded-credentials-argument
    DriverManager.getConnection(url, user, "");
    // ok: java-hard-coded-credentials-argument
    new SecretKeySpec(given.getBytes(UTF_8), "HmacSHA256");
  }
}
