module PagesHelper
  def greeting
    # ruleid: ruby-cross-site-scripting
    "<b>Hello #{params[:name]}</b>".html_safe
  end

  def banner
    text = params[:text]
    # ruleid: ruby-cross-site-scripting
    raw(text)
  end

  def escaped
    # ok: ruby-cross-site-scripting
    "<b>Hello #{h(params[:name])}</b>".html_safe
  end

  def cleaned
    # ok: ruby-cross-site-scripting
    raw(sanitize(params[:text], tags: %w[b i]))
  end

  def fixed
    # ok: ruby-cross-site-scripting
    "<b>Hello</b>".html_safe
  end

  def back
    # ruleid: ruby-cross-site-scripting-link
    link_to "Back", params[:back]
  end

  def site
    address = params[:site]
    # ruleid: ruby-cross-site-scripting-link
    link_to("Site", address, class: "external")
  end

  def profile
    # ok: ruby-cross-site-scripting-link
    link_to params[:name], user_path(params[:id])
  end

  def item
    # ok: ruby-cross-site-scripting-link
    link_to "Item", "/items/#{params[:id]}"
  end
end

class PagesController < ApplicationController
  def preview
    # ruleid: ruby-cross-site-scripting-template
    render inline: params[:template]
  end

  def preview_with_layout
    source = "<h1>#{params[:title]}</h1>"
    # ruleid: ruby-cross-site-scripting-template
    render inline: source, layout: true
  end

  def show
    # ok: ruby-cross-site-scripting-template
    render inline: "<h1><%= title %></h1>", locals: { title: params[:title] }
  end

  def plain
    # ok: ruby-cross-site-scripting-template
    render plain: params[:title]
  end
end
