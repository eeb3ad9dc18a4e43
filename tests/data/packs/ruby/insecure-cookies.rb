class LoginController < ApplicationController
  def create
    # ruleid: ruby-insecure-cookies
    cookies[:theme] = { value: "dark", httponly: false }
    # ruleid: ruby-insecure-cookies
    cookies.signed[:cart] = { value: cart.id, secure: false, httponly: true }
    # ok: ruby-insecure-cookies
    cookies[:theme] = { value: "dark", httponly: true, secure: true }
    # ruleid: ruby-insecure-cookies-token
    cookies.permanent[:auth_token] = user.auth_token
    # ruleid: ruby-insecure-cookies-token
    cookies[:remember_token] = { value: user.token, expires: 1.year }
    # ok: ruby-insecure-cookies-token
    cookies[:remember_token] = { value: user.token, httponly: true, secure: true }
    # ok: ruby-insecure-cookies-token
    cookies[:auth_token] = nil
    # ok: ruby-insecure-cookies-token
    cookies[:language] = params[:language]
  end
end

# ruleid: ruby-insecure-cookies
Rails.application.config.session_store :cookie_store, key: "_app", httponly: false
# ok: ruby-insecure-cookies
Rails.application.config.session_store :cookie_store, key: "_app", secure: true
