const crypto = require("crypto");
const jwt = require("jsonwebtoken");

function store(password, user, content) {
  // ruleid: javascript-weak-cryptography-password-hash
  const one = crypto.createHash("md5").update(password).digest("hex");
  // ruleid: javascript-weak-cryptography-password-hash
  const two = crypto.createHash("sha256").update(user.salt + user.password).digest("hex");
  // ok: javascript-weak-cryptography-password-hash
  const three = crypto.createHash("sha256").update(content).digest("hex");
  // ok: javascript-weak-cryptography-password-hash
  const four = crypto.scryptSync(password, user.salt, 64);
}

function ciphers(key, iv) {
  // ruleid: javascript-weak-cryptography-cipher
  const one = crypto.createCipher("aes-256-cbc", key);
  // ruleid: javascript-weak-cryptography-cipher
  const two = crypto.createCipheriv("aes-256-ecb", key, null);
  // ok: javascript-weak-cryptography-cipher
  const three = crypto.createCipheriv("aes-256-gcm", key, iv);
  // ok: javascript-weak-cryptography-cipher
  const four = crypto.createDecipheriv("aes-256-gcm", key, iv);
}

function draw(user) {
  // ruleid: javascript-weak-cryptography-random
  const resetToken = Math.random().toString(36).slice(2);
  // ruleid: javascript-weak-cryptography-random
  user.otp = Math.floor(Math.random() * 1000000);
  // ok: javascript-weak-cryptography-random
  const delay = Math.random() * 1000;
  // ok: javascript-weak-cryptography-random
  const token = crypto.randomBytes(32).toString("hex");
}

function claims(mark, key) {
  // ruleid: javascript-weak-cryptography-jwt-unverified
  const one = jwt.verify(mark, key, { algorithms: ["HS256", "none"] });
  // ruleid: javascript-weak-cryptography-jwt-unverified
  const two = jwt.verify(mark, key, { ignoreExpiration: true });
  // ok: javascript-weak-cryptography-jwt-unverified
  const three = jwt.verify(mark, key, { algorithms: ["HS256"] });
  // ok: javascript-weak-cryptography-jwt-unverified
  const four = jwt.sign({ mark }, key, { algorithm: "RS256" });
}
