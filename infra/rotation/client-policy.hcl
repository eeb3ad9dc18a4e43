# What a consumer may do: read the value in force. Not the one that waits beside it, and nothing else.
path "kv/data/shop/db" {
  capabilities = ["read"]
}
