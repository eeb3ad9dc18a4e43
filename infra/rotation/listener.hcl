# Where it listens. $api and $cluster are the ports that infra.rotation found free.
api_addr     = "https://127.0.0.1:$api"
cluster_addr = "https://127.0.0.1:$cluster"

listener "tcp" {
  address         = "127.0.0.1:$api"
  cluster_address = "127.0.0.1:$cluster"
  tls_cert_file   = "server.pem"
  tls_key_file    = "server.key"
  tls_min_version = "tls12"
}
