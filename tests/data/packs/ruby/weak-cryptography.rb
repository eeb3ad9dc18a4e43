def store(user, password)
  # ruleid: ruby-weak-cryptography-password-hash
  user.digest = Digest::MD5.hexdigest(password)
  # ruleid: ruby-weak-cryptography-password-hash
  user.digest = Digest::SHA256.hexdigest("#{user.salt}#{password}")
  # ok: ruby-weak-cryptography-password-hash
  user.digest = BCrypt::Password.create(password, cost: 12)
  # ok: ruby-weak-cryptography-password-hash
  etag = Digest::MD5.hexdigest(user.email)
end

def ciphers(key)
  # ruleid: ruby-weak-cryptography-cipher
  a = OpenSSL::Cipher.new("des-ede3-cbc")
  # ruleid: ruby-weak-cryptography-cipher
  b = OpenSSL::Cipher.new("AES-128-ECB")
  # ruleid: ruby-weak-cryptography-cipher
  c = OpenSSL::Cipher::AES.new(256, :ECB)
  # ok: ruby-weak-cryptography-cipher
  d = OpenSSL::Cipher.new("aes-256-gcm")
  # ok: ruby-weak-cryptography-cipher
  e = OpenSSL::Cipher::AES.new(256, :GCM)
end

def keys
  # ruleid: ruby-weak-cryptography-short-key
  a = OpenSSL::PKey::RSA.new(1024)
  # ruleid: ruby-weak-cryptography-short-key
  b = OpenSSL::PKey::RSA.generate(512)
  # ok: ruby-weak-cryptography-short-key
  c = OpenSSL::PKey::RSA.new(3072)
  # ok: ruby-weak-cryptography-short-key
  d = OpenSSL::PKey::RSA.new(File.read("key.pem"))
end

def randoms(user)
  # ruleid: ruby-weak-cryptography-random
  reset_token = rand(36**10).to_s(36)
  # ruleid: ruby-weak-cryptography-random
  user.api_key = Random.rand(10**20).to_s
  # ok: ruby-weak-cryptography-random
  session_token = SecureRandom.hex(32)
  # ok: ruby-weak-cryptography-random
  delay = rand(10)
end
