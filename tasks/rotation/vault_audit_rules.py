"""What the audit of a Vault or OpenBao looks for, and who says that it matters."""

from __future__ import annotations

from tasks.core.secret_stores import StoreRule

_HARDENING = "https://developer.hashicorp.com/vault/docs/concepts/production-hardening"
_LISTENER = "https://openbao.org/docs/configuration/listener/tcp/"
_AUDIT = "https://openbao.org/docs/audit/"
_POLICIES = "https://openbao.org/docs/concepts/policies/"
_TOKENS = "https://openbao.org/docs/concepts/tokens/"
_LEASE = "https://openbao.org/docs/concepts/lease/"
_SEAL = "https://openbao.org/docs/concepts/seal/"
_ROTATION = "https://openbao.org/docs/internals/rotation/"
_CONFIGURATION = "https://openbao.org/docs/configuration/"
_APPROLE = "https://openbao.org/docs/auth/approle/"
_PKI = "https://openbao.org/docs/secrets/pki/considerations/"
_DATABASE = "https://openbao.org/docs/secrets/databases/"
_TRANSIT = "https://openbao.org/api-docs/secret/transit/"

RULES = tuple(
    StoreRule(rule_id=f"vault-{name}", title=title, severity=severity, remedy=remedy, source=source)
    for name, severity, title, remedy, source in (
        ("tls-off", "high", "Vault is spoken to without TLS",
         "Give each listener a certificate, and name the address with https.", _HARDENING),
        ("tls-version", "medium", "A listener takes TLS before 1.2",
         "Set `tls_min_version` of the listener to `tls12` or `tls13`.", _LISTENER),
        ("tls-certificate", "high", "The certificate of Vault is weak or about to end",
         "Issue another one: at least RSA of 2048 bits or EC of 256, signed with SHA-2, and renewed in time.",
         _LISTENER),
        ("audit-none", "critical", "No audit device is enabled",
         "Enable two audit devices, one of them on another machine.", _HARDENING),
        ("audit-single", "low", "Only one audit device is enabled",
         "Enable a second one: where the only one cannot be written to, Vault answers nothing.", _AUDIT),
        ("audit-raw", "high", "An audit device writes secret values as they are",
         "Set `log_raw` of the device to false, and treat what it wrote as secret.", _AUDIT),
        ("audit-accessors", "low", "An audit device writes accessors of tokens as they are",
         "Set `hmac_accessor` of the device to true: who has an accessor may revoke its token.", _AUDIT),
        ("audit-file-mode", "medium", "An audit file may be read by everybody on its machine",
         "Set `mode` of the device to 0600.", _AUDIT),
        ("audit-clear-keys", "medium", "Fields of a mount are written to the audit log as they are",
         "Empty `audit_non_hmac_request_keys` and `audit_non_hmac_response_keys` of the mount.", _AUDIT),
        ("policy-all", "high", "A policy allows something on every path",
         "Name the paths that its holders need.", _POLICIES),
        ("policy-admin", "medium", "A policy lets its holders give themselves any right",
         "Keep writing policies, roles and identities to those who administer Vault; accept it for their policy.",
         _POLICIES),
        ("policy-mount-wide", "medium", "A policy lets its holders change everything of a mount",
         "Name the folders that its holders need.", _POLICIES),
        ("policy-reads-all", "medium", "A policy lets its holders read every secret of a mount",
         "Name the folders or roles that its holders need; accept it for who keeps copies of all.", _POLICIES),
        ("policy-sudo", "medium", "A policy grants sudo by a pattern",
         "Grant sudo on the paths that need it alone.", _POLICIES),
        ("policy-unheld", "low", "A policy is held by nobody",
         "Delete it, or give it to those it was written for.", _POLICIES),
        ("root-token", "critical", "There is a root token",
         "Revoke it; make one by the key shares when it is needed, and revoke it again.", _HARDENING),
        ("token-endless", "medium", "A token can be renewed for ever in long periods",
         "Give it an explicit maximum (`explicit_max_ttl`) or a shorter period.", _TOKENS),
        ("lease-long", "medium", "Tokens and leases may last longer than 32 days",
         "Lower `max_lease_ttl` of the server or the mount; 32 days are the default.", _LEASE),
        ("no-mfa", "medium", "People sign in by password alone",
         "Enforce a second factor for the mount (identity/mfa/login-enforcement), or use OIDC.", _HARDENING),
        ("approle-secret-endless", "medium", "Secret ids of an AppRole never end",
         "Set `secret_id_ttl` or `secret_id_num_uses`.", _APPROLE),
        ("approle-no-secret", "high", "An AppRole signs in without a secret id",
         "Set `bind_secret_id`; a role id is no secret.", _APPROLE),
        ("approle-token-default", "low", "Tokens of an AppRole last as long as the server allows",
         "Set `token_ttl` and `token_max_ttl`.", _APPROLE),
        ("kubernetes-any", "high", "Any service account of a cluster may sign in",
         "Name the service accounts and the namespaces of the role.", "https://openbao.org/docs/auth/kubernetes/"),
        ("seal-single", "high", "One key share alone unseals Vault or makes a root token",
         "Rekey with several shares, of which more than one is needed.", _SEAL),
        ("barrier-key-old", "medium", "The key that encrypts the storage was not rotated for long",
         "Rotate it (`operator rotate`), and let it be rotated by time (`sys/rotate/config`).", _ROTATION),
        ("storage", "high", "The storage is not made to last",
         "Use integrated storage (raft) or a data base.", _CONFIGURATION),
        ("debug-endpoint", "high", "An endpoint for debugging reads around policies",
         "Switch `raw_storage_endpoint` and `introspection_endpoint` off.", _CONFIGURATION),
        ("mlock", "low", "Memory may be written to a swap disk",
         "Set `disable_mlock` to false, or see that there is no swap.", _HARDENING),
        ("metrics-open", "low", "Metrics are told to who is not signed in",
         "Set `unauthenticated_metrics_access` of the listener to false.", _LISTENER),
        ("kv-v1", "low", "Key-value secrets without versions",
         "Upgrade the mount to version 2: what is overwritten is lost, and nobody knows when.",
         "https://openbao.org/docs/secrets/kv/"),
        ("pki-any-name", "high", "A PKI role issues certificates of any name",
         "Name `allowed_domains`, and set `allow_any_name` to false.", _PKI),
        ("pki-long", "medium", "A PKI role issues certificates for more than 398 days",
         "Lower `max_ttl` of the role.", _PKI),
        ("pki-unstored", "low", "A PKI role keeps no record of certificates that last more than a day",
         "Set `no_store` to false, or `max_ttl` to a day: what is not stored cannot be listed or revoked.", _PKI),
        ("database-unencrypted", "high", "A connection to a data base is not encrypted or not verified",
         "Let the connection verify the server's certificate (`sslmode=verify-full`, `tls=true`).", _DATABASE),
        ("database-url-password", "high", "A connection to a data base has its password in its URL, which is told",
         "Write `{{username}}:{{password}}` in the URL, and rotate the password.", _DATABASE),
        ("database-any-role", "medium", "Every role may use a connection to a data base",
         "Name the roles in `allowed_roles`.", _DATABASE),
        ("transit-key-old", "medium", "A transit key is not rotated",
         "Rotate it, and set `auto_rotate_period`.", _TRANSIT),
        ("transit-exportable", "medium", "A transit key can be taken out",
         "Make another key: neither `exportable` nor `allow_plaintext_backup` can be taken back.", _TRANSIT),
        ("transit-deletable", "low", "A transit key may be deleted",
         "Set `deletion_allowed` to false: what it encrypted would be lost.", _TRANSIT),
    )
)  # fmt: skip
