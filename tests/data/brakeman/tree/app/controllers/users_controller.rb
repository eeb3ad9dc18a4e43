class UsersController < ApplicationController
  KEY = '{{TOKEN_1}}'
  def show
    User.where("name = '#{params[:name]}'")
    eval(params[:code])
  end
end
