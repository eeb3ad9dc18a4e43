require "sinatra"

get "/hello" do
  # ruleid: ruby-cross-site-scripting-route
  "<h1>Hello #{params[:name]}</h1>"
end

post "/search" do
  query = params["q"]
  # ruleid: ruby-cross-site-scripting-route
  "<p>No hits for #{query}</p>"
end

get "/escaped" do
  # ok: ruby-cross-site-scripting-route
  "<h1>Hello #{Rack::Utils.escape_html(params[:name])}</h1>"
end

get "/count" do
  # ok: ruby-cross-site-scripting-route
  "<p>Page #{params[:page].to_i}</p>"
end

get "/text" do
  # ok: ruby-cross-site-scripting-route
  "Hello #{params[:name]}"
end

get "/template" do
  # ruleid: ruby-cross-site-scripting-template
  erb params[:template]
end

get "/page" do
  # ok: ruby-cross-site-scripting-template
  erb :page, locals: { name: params[:name] }
end
