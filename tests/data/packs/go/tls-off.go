package samples

func configs() {
	// ruleid: go-tls-off
	off := &tls.Config{InsecureSkipVerify: true}
	// ruleid: go-tls-off
	config := ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	// ok: go-tls-off
	on := &tls.Config{InsecureSkipVerify: false}
	// ok: go-tls-off
	pinned := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	// ruleid: go-tls-off-version
	old := &tls.Config{MinVersion: tls.VersionTLS10}
	// ruleid: go-tls-off-version
	old.MinVersion = tls.VersionTLS11
	// ok: go-tls-off-version
	recent := &tls.Config{MinVersion: tls.VersionTLS12}
	// ok: go-tls-off-version
	recent.MinVersion = tls.VersionTLS13
}
