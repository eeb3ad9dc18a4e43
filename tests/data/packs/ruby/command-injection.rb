class ToolsController < ApplicationController
  def run
    # ruleid: ruby-command-injection
    system("convert #{params[:file]} out.png")
    host = params[:host]
    # ruleid: ruby-command-injection
    @out = `ping -c 1 #{host}`
    # ruleid: ruby-command-injection
    @log = %x(git log #{params[:ref]})
    command = "nslookup " + host
    # ruleid: ruby-command-injection
    out, status = Open3.capture2e(command)
    # ruleid: ruby-command-injection
    IO.popen("whois #{host}") { |io| io.read }
    # ok: ruby-command-injection
    system("convert", params[:file], "out.png")
    # ok: ruby-command-injection
    Open3.capture2e("nslookup", "--", host)
    # ok: ruby-command-injection
    @safe = `ping -c 1 #{Shellwords.escape(host)}`
    # ok: ruby-command-injection
    IO.popen(["whois", host]) { |io| io.read }
    # ok: ruby-command-injection
    @n = `head -n #{params[:lines].to_i} log/app.log`
    # ok: ruby-command-injection
    system("git fetch origin")
  end

  def calculate
    # ruleid: ruby-command-injection-eval
    @result = eval(params[:formula])
    code = "value * #{params[:factor]}"
    # ruleid: ruby-command-injection-eval
    @other = record.instance_eval(code)
    # ok: ruby-command-injection-eval
    @sum = Calculator.evaluate(params[:formula])
    # ok: ruby-command-injection-eval
    @product = eval("value * #{params[:factor].to_f}")
  end

  def fetch
    # ruleid: ruby-command-injection-open
    @page = open(params[:address]).read
    name = params[:name]
    # ruleid: ruby-command-injection-open
    open(name, "w") { |f| f << "done" }
    # ok: ruby-command-injection-open
    File.open("reports/today.txt")
    # ok: ruby-command-injection-open
    open("https://status.example.org/#{params[:day]}").read
  end
end
