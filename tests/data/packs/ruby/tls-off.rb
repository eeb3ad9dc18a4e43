def fetch(uri, http, ctx, url)
  # ruleid: ruby-tls-off
  http.verify_mode = OpenSSL::SSL::VERIFY_NONE
  # ruleid: ruby-tls-off
  Net::HTTP.start(uri.host, uri.port, use_ssl: true, verify_mode: OpenSSL::SSL::VERIFY_NONE) { |h| h.get("/") }
  # ruleid: ruby-tls-off
  Faraday.new(url: url, ssl: { verify: false })
  # ruleid: ruby-tls-off
  HTTParty.get(url, verify: false)
  # ruleid: ruby-tls-off
  RestClient::Resource.new(url, verify_ssl: false)
  # ok: ruby-tls-off
  http.verify_mode = OpenSSL::SSL::VERIFY_PEER
  # ok: ruby-tls-off
  Faraday.new(url: url, ssl: { ca_file: "internal.pem" })
  # ok: ruby-tls-off
  record.save(verify: false)
  # ruleid: ruby-tls-off-old-protocol
  ctx.ssl_version = :TLSv1
  # ruleid: ruby-tls-off-old-protocol
  ctx.min_version = OpenSSL::SSL::TLS1_VERSION
  # ok: ruby-tls-off-old-protocol
  ctx.min_version = OpenSSL::SSL::TLS1_2_VERSION
  # ok: ruby-tls-off-old-protocol
  ctx.ssl_version = :TLSv1_2
end
