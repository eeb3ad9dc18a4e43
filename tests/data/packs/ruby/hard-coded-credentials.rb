class AdminController < ApplicationController
  # ruleid: ruby-hard-coded-credentials
  http_basic_authenticate_with name: "admin", password: "not-a-real-one"
  # ok: ruby-hard-coded-credentials
  http_basic_authenticate_with name: "admin", password: ENV.fetch("ADMIN_PASSWORD")
end

def connect(payload, request)
  # ruleid: ruby-hard-coded-credentials
  a = Mysql2::Client.new(host: "db", username: "app", password: "not-a-real-one")
  # ruleid: ruby-hard-coded-credentials
  b = JWT.encode(payload, "not-a-real-one", "HS256")
  # ruleid: ruby-hard-coded-credentials
  request.basic_auth("app", "not-a-real-one")
  # ok: ruby-hard-coded-credentials
  c = Mysql2::Client.new(host: "db", username: "app", password: ENV["DB_PASSWORD"])
  # ok: ruby-hard-coded-credentials
  d = JWT.encode(payload, Rails.application.credentials.jwt_key, "HS256")
  # ok: ruby-hard-coded-credentials
  e = Mysql2::Client.new(host: "db", username: "app", password: "")
  # ok: ruby-hard-coded-credentials
  request.basic_auth("app", "#{token}")
end

# ruleid: ruby-hard-coded-credentials-setting
JWT_SECRET = "not-a-real-one"
# ruleid: ruby-hard-coded-credentials-setting
Rails.application.config.secret_key_base = "not-a-real-one"
# ok: ruby-hard-coded-credentials-setting
ENCRYPTION_KEY = ENV.fetch("ENCRYPTION_KEY")
# ok: ruby-hard-coded-credentials-setting
SECRET_KEY = "your-key-here"
# ok: ruby-hard-coded-credentials-setting
PASSWORD_FIELD = "user_password"
