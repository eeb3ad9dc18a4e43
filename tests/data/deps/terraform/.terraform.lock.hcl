# This file is maintained automatically by "terraform init".
# Manual edits may be lost in future updates.

provider "registry.terraform.io/hashicorp/aws" {
  version     = "5.17.0"
  constraints = ">= 5.0.0, < 6.0.0"
  hashes = [
    "h1:abc=",
    "zh:0123",
  ]
}

provider "registry.example.org/team/own" {
  version = "1.2.3"
}
