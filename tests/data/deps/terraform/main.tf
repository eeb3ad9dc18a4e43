terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
    random = "3.5.1"
    own = { source = "registry.example.org/team/own", version = "= 1.2.3" }
  }
}

# module "commented" { source = "a/b/c" }
module "vpc" {
  source  = "terraform-aws-modules/vpc/aws"
  version = "5.1.2"
  tags    = { name = "a ${var.x["}"]} b", other = "{" }
}

module "git" {
  source = "git::https://user:s3cr3t@git.example.org/team/network.git//modules/vpc?ref=v1.2.0&token=abc"
}

module "here" {
  source = "./modules/here"
}

locals {
  text = <<-EOT
    module "inside" {
      source = "x/y/z"
    }
  EOT
}
