resource "aws_s3_bucket" "unfinished" {
  bucket =
