package samples;

class Trusting implements X509TrustManager {
  // ruleid: java-tls-off
  public void checkServerTrusted(X509Certificate[] chain, String type) {}

  // ok: java-tls-off
  public void checkClientTrusted(X509Certificate[] chain, String type) {}
}

class Careful implements X509TrustManager {
  // ok: java-tls-off
  public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
    delegate.checkServerTrusted(chain, type);
  }
}

class Clients {
  void make(OkHttpClient.Builder builder, HttpsURLConnection connection, SSLSocket socket) throws Exception {
    // ruleid: java-tls-off
    SSLContexts.custom().loadTrustMaterial(null, TrustAllStrategy.INSTANCE);
    // ruleid: java-tls-off-hostname
    builder.hostnameVerifier((host, session) -> true);
    // ruleid: java-tls-off-hostname
    HttpClients.custom().setSSLHostnameVerifier(NoopHostnameVerifier.INSTANCE);
    // ok: java-tls-off-hostname
    builder.hostnameVerifier((host, session) -> host.equals(NAME) && strict.verify(host, session));
    // ok: java-tls-off-hostname
    connection.setHostnameVerifier(HttpsURLConnection.getDefaultHostnameVerifier());
    // ruleid: java-tls-off-version
    SSLContext.getInstance("TLSv1");
    // ruleid: java-tls-off-version
    socket.setEnabledProtocols(new String[] {"TLSv1.1", "TLSv1.2"});
    // ok: java-tls-off-version
    SSLContext.getInstance("TLS");
    // ok: java-tls-off-version
    socket.setEnabledProtocols(new String[] {"TLSv1.2", "TLSv1.3"});
  }
}
