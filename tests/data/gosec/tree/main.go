package main

import (
	"crypto/md5"
	"fmt"
)

var password = "{{TOKEN_1}}"

func main() {
	fmt.Println(md5.Sum([]byte("x"))) // #nosec
}
