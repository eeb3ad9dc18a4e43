package samples;

@RestController
class FetchController {
  private final RestTemplate restTemplate;

  @GetMapping("/fetch")
  String fetch(@RequestParam String url, @RequestParam String city, @RequestParam String partner) throws Exception {
    // ruleid: java-ssrf
    restTemplate.getForObject(url, String.class);
    // ruleid: java-ssrf
    InputStream in = new URL(url).openStream();
    URL target = new URL("http://" + partner + "/status");
    // ruleid: java-ssrf
    target.openConnection();
    // ruleid: java-ssrf
    HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
    // ok: java-ssrf
    restTemplate.getForObject("https://weather.example.org/" + city, String.class);
    // ok: java-ssrf
    restTemplate.getForObject("https://weather.example.org/{city}", String.class, city);
    // ok: java-ssrf
    return restTemplate.getForObject(PARTNERS.get(partner), String.class);
  }
}
