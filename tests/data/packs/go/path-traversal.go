package samples

func read(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("file")
	// ruleid: go-path-traversal
	data, err := os.ReadFile(filepath.Join("/srv/files", name))
	// ruleid: go-path-traversal
	file, err := os.Open("/srv/files/" + r.PathValue("name"))
	// ok: go-path-traversal
	data, err = os.ReadFile(filepath.Join("/srv/files", filepath.Base(name)))
	// ok: go-path-traversal
	data, err = os.ReadFile("/srv/files/index.txt")
	if !filepath.IsLocal(name) {
		return
	}
	// ok: go-path-traversal
	data, err = os.ReadFile(filepath.Join("/srv/files", name))
}

func unpack(archive *zip.Reader, folder string) error {
	for _, entry := range archive.File {
		// ruleid: go-path-traversal-archive
		out, err := os.Create(filepath.Join(folder, entry.Name))
		// ok: go-path-traversal-archive
		out, err = os.Create(filepath.Join(folder, filepath.Base(entry.Name)))
	}
	return nil
}

func untar(archive *tar.Reader, folder string) error {
	for {
		header, err := archive.Next()
		target := filepath.Join(folder, header.Name)
		// ruleid: go-path-traversal-archive
		err = os.MkdirAll(target, 0o755)
		if !filepath.IsLocal(target) {
			return err
		}
		// ok: go-path-traversal-archive
		err = os.MkdirAll(target, 0o755)
	}
}
