class ProxyController < ApplicationController
  def show
    # ruleid: ruby-ssrf
    @body = Net::HTTP.get(URI(params[:url]))
    uri = URI.parse(params[:feed])
    # ruleid: ruby-ssrf
    @feed = Net::HTTP.get_response(uri)
    # ruleid: ruby-ssrf
    @page = URI.open(params[:page]).read
    # ruleid: ruby-ssrf
    @hook = Faraday.post(params[:hook], "{}")
    # ruleid: ruby-ssrf
    @conn = Faraday.new(url: "http://#{params[:host]}")
    # ruleid: ruby-ssrf
    @image = HTTParty.get(params[:image])
  end

  def safe
    # ok: ruby-ssrf
    @a = HTTParty.get("https://api.example.org/users/#{params[:id]}")
    # ok: ruby-ssrf
    @b = Faraday.get("https://api.example.org/search", q: params[:q])
    # ok: ruby-ssrf
    @c = Net::HTTP.get(URI(FEEDS.fetch(params[:feed])))
    # ok: ruby-ssrf
    @d = RestClient.get("#{api_base}/items/#{params[:id]}")
    target = params[:url]
    raise NotFound unless FEEDS.include?(target)
    # ok: ruby-ssrf
    @e = Net::HTTP.get(URI(target))
  end
end
