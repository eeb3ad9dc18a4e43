resource "aws_security_group" "bastion" {
  name        = "bastion"
  description = "administrators"

  ingress {
    description = "ssh from anywhere"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_db_instance" "orders" {
  identifier          = "orders"
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  username            = "orders"
  password            = "{{TOKEN_1}}"
  publicly_accessible = true
}

resource "aws_ebs_volume" "cache" {
  # checkov:skip=CKV_AWS_3:the repository's own opinion
  availability_zone = "eu-central-1a"
  size              = 40
}
