package samples

func ping(w http.ResponseWriter, r *http.Request) {
	host := r.FormValue("host")
	// ruleid: go-command-injection
	exec.Command("sh", "-c", "ping -c 1 "+host).Run()
	// ruleid: go-command-injection
	exec.CommandContext(r.Context(), host, "--version").Run()
	count, err := strconv.Atoi(r.FormValue("count"))
	// ok: go-command-injection
	exec.Command("ping", "-c", strconv.Itoa(count), "localhost").Run()
	// ok: go-command-injection
	exec.Command("uptime").Run()
	// ok: go-command-injection
	exec.Command("ping", hosts[host]).Run()
}

func pack(folder string) error {
	// ruleid: go-command-injection-shell
	err := exec.Command("sh", "-c", "tar czf out.tgz "+folder).Run()
	line := fmt.Sprintf("rm -r %s", folder)
	// ruleid: go-command-injection-shell
	err = exec.Command("/bin/bash", "-c", line).Run()
	// ok: go-command-injection-shell
	err = exec.Command("tar", "czf", "out.tgz", folder).Run()
	// ok: go-command-injection-shell
	err = exec.Command("sh", "-c", "tar czf out.tgz .").Run()
	return err
}
