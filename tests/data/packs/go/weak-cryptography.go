package samples

import "math/rand"

func ciphers(key []byte) {
	// ruleid: go-weak-cryptography-cipher
	block, err := des.NewCipher(key)
	// ruleid: go-weak-cryptography-cipher
	stream, err := rc4.NewCipher(key)
	// ok: go-weak-cryptography-cipher
	block, err = aes.NewCipher(key)
	// ok: go-weak-cryptography-cipher
	aead, err := chacha20poly1305.New(key)
}

func passwords(password string, body []byte) {
	// ruleid: go-weak-cryptography-password, go-weak-cryptography-digest
	sum := md5.Sum([]byte(password))
	// ruleid: go-weak-cryptography-password
	long := sha256.Sum256([]byte(password))
	// ok: go-weak-cryptography-password
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 12)
	// ok: go-weak-cryptography-password, go-weak-cryptography-digest
	long = sha256.Sum256(body)
	// ruleid: go-weak-cryptography-digest
	digest := sha1.New()
}

func etag(body []byte) [16]byte {
	// ok: go-weak-cryptography-digest
	return md5.Sum(body)
}

func newToken() int {
	// ruleid: go-weak-cryptography-random
	return rand.Intn(1000000)
}

func makePassword(letters []byte) byte {
	// ruleid: go-weak-cryptography-random
	at := rand.Int63()
	return letters[at]
}

func shuffle(rows []int) int {
	// ok: go-weak-cryptography-random
	return rows[rand.Intn(len(rows))]
}

func backoff() int64 {
	// ok: go-weak-cryptography-random
	return rand.Int63()
}

func keys() {
	// ruleid: go-weak-cryptography-key
	key, err := rsa.GenerateKey(source, 1024)
	// ruleid: go-weak-cryptography-key
	key, err = rsa.GenerateKey(source, 512)
	// ok: go-weak-cryptography-key
	key, err = rsa.GenerateKey(source, 2048)
	// ok: go-weak-cryptography-key
	key, err = rsa.GenerateKey(source, 4096)
}
