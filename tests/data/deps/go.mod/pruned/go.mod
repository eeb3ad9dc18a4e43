module example.invalid/demo // the module

go 1.21.3

toolchain go1.22.1

require (
	github.com/gin-gonic/gin v1.9.0
	"golang.org/x/net" v0.17.0 // indirect
	example.invalid/local v0.0.0
)

require example.invalid/forked v1.0.0 // indirect; for the tests

replace example.invalid/forked v1.0.0 => github.com/fork/forked v1.0.1

replace (
	example.invalid/local => ./local
)

exclude golang.org/x/net v0.16.0

retract [v1.0.0, v1.1.0] // were wrong

tool example.invalid/local/cmd
