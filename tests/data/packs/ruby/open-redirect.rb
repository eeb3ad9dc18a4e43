class SessionsController < ApplicationController
  def create
    # ruleid: ruby-open-redirect
    redirect_to params[:return_to]
    path = params[:path].presence || "/"
    # ruleid: ruby-open-redirect
    redirect_to path, notice: "Welcome"
    # ruleid: ruby-open-redirect
    redirect_to "https://#{params[:host]}/start"
    # ok: ruby-open-redirect
    redirect_to root_path(tab: params[:tab])
    # ok: ruby-open-redirect
    redirect_to action: "show", id: params[:id]
    # ok: ruby-open-redirect
    redirect_to "/users/#{params[:id]}"
    # ok: ruby-open-redirect
    redirect_to url_from(params[:return_to]) || root_path
    # ok: ruby-open-redirect
    redirect_to params[:return_to], allow_other_host: false
    # ok: ruby-open-redirect
    redirect_to URI.parse(params[:return_to]).path
    # ok: ruby-open-redirect
    redirect_to request.referer || root_path
    user = User.find(params[:id])
    # ok: ruby-open-redirect
    redirect_to user
  end
end

get "/leave" do
  # ruleid: ruby-open-redirect
  redirect params[:to]
end

get "/go" do
  # ok: ruby-open-redirect
  redirect to("/items/#{params[:id]}")
end
