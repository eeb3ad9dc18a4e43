# Where OpenBao listens in its container (openbao.hcl, beside this file there, is that of infra/rotation).
api_addr     = "https://openbao:8200"
cluster_addr = "https://openbao:8201"

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "server.pem"
  tls_key_file    = "server.key"
  tls_min_version = "tls12"
}
