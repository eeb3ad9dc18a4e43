# OpenBao as it is run for real: raft on disk, TLS (listener.hcl, beside it), each call audited, never in development
# mode. Paths count from the folder that it is started in. https://openbao.org/docs/configuration/
storage "raft" {
  path    = "raft"
  node_id = "one"
  # Elections as fast as raft is on a real machine; without this line five times slower, for very small ones.
  performance_multiplier = 1
}

# OpenBao answers nothing that it cannot write down here first. Values and tokens stand in it as HMACs. Since 2.4 devices
# are declared here only, so that no token, however mighty, can switch them off.
audit "file" "all" {
  description = "each call and its answer"
  options {
    file_path = "audit.log"
    mode      = "0600"
  }
}

# The longest that any token lasts; those of the rotation last minutes.
default_lease_ttl = "1h"
max_lease_ttl     = "24h"

ui        = false
log_level = "info"

# OpenBao locks no memory (it gave up mlock): encrypt the swap of a real machine, or have none. So there is no
# disable_mlock here.
