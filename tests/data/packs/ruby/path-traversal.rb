class DownloadsController < ApplicationController
  def show
    # ruleid: ruby-path-traversal
    send_file "reports/#{params[:name]}"
    path = Rails.root.join("exports", params[:name])
    # ruleid: ruby-path-traversal
    send_file path, disposition: "attachment"
    # ruleid: ruby-path-traversal
    @text = File.read(File.join("notes", params[:note]))
    # ruleid: ruby-path-traversal
    FileUtils.rm_f("tmp/" + params[:file])
    # ruleid: ruby-path-traversal
    render file: params[:page]
  end

  def safe
    # ok: ruby-path-traversal
    send_file "reports/#{File.basename(params[:name])}"
    report = Report.find(params[:id])
    # ok: ruby-path-traversal
    send_file report.path
    # ok: ruby-path-traversal
    @text = File.read(PAGES.fetch(params[:page]))
    # ok: ruby-path-traversal
    @data = File.binread(params[:upload].tempfile.path)
    full = File.expand_path(params[:name], ROOT)
    raise NotFound unless full.start_with?("#{ROOT}/")
    # ok: ruby-path-traversal
    send_file full
    # ok: ruby-path-traversal
    send_data params[:text], filename: params[:name]
  end
end
