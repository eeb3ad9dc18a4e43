package samples

import (
	"crypto/rand"
	mathrand "math/rand"
)

func newToken() (string, error) {
	code := make([]byte, 32)
	// ok: go-weak-cryptography-random
	if _, err := rand.Read(code); err != nil {
		return "", err
	}
	return hex.EncodeToString(code), nil
}

func resetCode() string {
	// ruleid: go-weak-cryptography-random
	return fmt.Sprintf("%d", mathrand.Int63())
}
