package samples;

class Crypto {
  void ciphers() throws Exception {
    // ruleid: java-weak-cryptography-cipher
    Cipher.getInstance("DES/CBC/PKCS5Padding");
    // ruleid: java-weak-cryptography-cipher
    Cipher.getInstance("AES/ECB/PKCS5Padding");
    // ruleid: java-weak-cryptography-cipher
    Cipher.getInstance("AES");
    // ok: java-weak-cryptography-cipher
    Cipher.getInstance("AES/GCM/NoPadding");
    // ok: java-weak-cryptography-cipher
    KeyGenerator.getInstance("AES");
    // ok: java-weak-cryptography-cipher
    Cipher.getInstance("RSA/ECB/OAEPWithSHA-256AndMGF1Padding");
  }

  byte[] digest(String text) throws Exception {
    // ruleid: java-weak-cryptography-digest
    MessageDigest.getInstance("MD5").digest(text.getBytes(UTF_8));
    // ruleid: java-weak-cryptography-digest
    DigestUtils.sha1Hex(text);
    // ok: java-weak-cryptography-digest
    return MessageDigest.getInstance("SHA-256").digest(text.getBytes(UTF_8));
  }

  byte[] etag(byte[] body) throws Exception {
    // ok: java-weak-cryptography-digest
    return MessageDigest.getInstance("MD5").digest(body);
  }

  String newToken() {
    // ruleid: java-weak-cryptography-random
    return Long.toHexString(new Random().nextLong());
  }

  void draw(SecureRandom secure) {
    // ruleid: java-weak-cryptography-random
    double resetToken = Math.random();
    // ok: java-weak-cryptography-random
    long accessToken = secure.nextLong();
    // ok: java-weak-cryptography-random
    int dice = new Random().nextInt(6);
  }

  void keys(char[] password, byte[] salt) throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
    // ruleid: java-weak-cryptography-key
    generator.initialize(1024);
    // ok: java-weak-cryptography-key
    generator.initialize(3072);
    // ruleid: java-weak-cryptography-key
    new PBEKeySpec(password, salt, 1000, 256);
    // ok: java-weak-cryptography-key
    new PBEKeySpec(password, salt, 210000, 256);
  }

  void nonces(SecureRandom random, byte[] received) {
    byte[] zero = new byte[16];
    // ruleid: java-weak-cryptography-nonce
    new IvParameterSpec(zero);
    // ruleid: java-weak-cryptography-nonce
    new GCMParameterSpec(128, "twelve bytes".getBytes());
    byte[] fresh = new byte[12];
    random.nextBytes(fresh);
    // ok: java-weak-cryptography-nonce
    new GCMParameterSpec(128, fresh);
    // ok: java-weak-cryptography-nonce
    new IvParameterSpec(received);
  }
}
