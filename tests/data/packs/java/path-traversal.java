package samples;

@Controller
class FileController {
  @GetMapping("/file")
  Resource read(@RequestParam String name, Path base) throws IOException {
    // ruleid: java-path-traversal
    File file = new File("/srv/files", name);
    // ruleid: java-path-traversal
    byte[] bytes = Files.readAllBytes(Paths.get("/srv/files/" + name));
    // ok: java-path-traversal
    File safe = new File("/srv/files", FilenameUtils.getName(name));
    // ok: java-path-traversal
    return new FileSystemResource(FILES.get(name));
  }

  @PostMapping("/upload")
  void upload(@RequestParam MultipartFile upload) throws IOException {
    // ruleid: java-path-traversal
    upload.transferTo(new File(folder, upload.getOriginalFilename()));
  }

  @GetMapping("/checked")
  Path checked(@RequestParam String name, Path base) throws IOException {
    // ok: java-path-traversal
    Path path = base.resolve(name).normalize();
    if (!path.startsWith(base)) {
      throw new IOException("outside");
    }
    return path;
  }

  void unpack(ZipInputStream zip, File target, Path folder) throws IOException {
    ZipEntry entry;
    while ((entry = zip.getNextEntry()) != null) {
      // ruleid: java-path-traversal-archive
      File file = new File(target, entry.getName());
      // ruleid: java-path-traversal-archive
      Path path = folder.resolve(entry.getName());
    }
  }

  void unpackChecked(ZipInputStream zip, Path folder) throws IOException {
    ZipEntry entry;
    while ((entry = zip.getNextEntry()) != null) {
      // ok: java-path-traversal-archive
      Path path = folder.resolve(entry.getName()).normalize();
      if (!path.startsWith(folder)) {
        throw new IOException("outside");
      }
    }
  }
}

class Listing {
  void list(ZipInputStream zip, Path folder) throws IOException {
    ZipEntry entry = zip.getNextEntry();
    // ok: java-path-traversal-archive
    names.add(entry.getName());
  }
}
