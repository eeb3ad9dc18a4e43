class StateController < ApplicationController
  def load
    # ruleid: ruby-unsafe-deserialisation
    @state = Marshal.load(Base64.decode64(params[:state]))
    # ruleid: ruby-unsafe-deserialisation
    @cart = Marshal.load(cookies[:cart])
    text = request.body.read
    # ruleid: ruby-unsafe-deserialisation
    @config = YAML.load(text)
    # ruleid: ruby-unsafe-deserialisation, ruby-unsafe-deserialisation-unsafe-yaml
    @all = YAML.unsafe_load(params[:yaml])
    # ok: ruby-unsafe-deserialisation
    @a = JSON.parse(params[:state])
    # ok: ruby-unsafe-deserialisation, ruby-unsafe-deserialisation-unsafe-yaml
    @b = YAML.safe_load(params[:yaml], permitted_classes: [Date])
    # ok: ruby-unsafe-deserialisation
    @c = Marshal.load(verifier.verify(cookies[:cart]))
    # ok: ruby-unsafe-deserialisation
    @d = Marshal.load(Rails.cache.read("state"))
  end

  def settings(path)
    # ruleid: ruby-unsafe-deserialisation-unsafe-yaml
    @settings = YAML.unsafe_load_file(path)
    # ok: ruby-unsafe-deserialisation-unsafe-yaml
    @own = YAML.unsafe_load_file("config/own.yml")
  end
end

Rails.application.configure do
  # ruleid: ruby-unsafe-deserialisation-cookies
  config.action_dispatch.cookies_serializer = :marshal
  # ok: ruby-unsafe-deserialisation-cookies
  config.action_dispatch.cookies_serializer = :json
  # ok: ruby-unsafe-deserialisation-cookies
  config.action_dispatch.cookies_same_site_protection = :lax
end

def encryptor(key)
  # ruleid: ruby-unsafe-deserialisation-cookies
  ActiveSupport::MessageEncryptor.new(key, serializer: Marshal)
end

def copied
  written = Marshal.dump(params[:filter])
  # ok: ruby-unsafe-deserialisation
  first = Marshal.load(written)
  # ruleid: ruby-unsafe-deserialisation
  second = Marshal.load(params[:filter])
  [first, second]
end
