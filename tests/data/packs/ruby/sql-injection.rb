class OrdersController < ApplicationController
  def index
    # ruleid: ruby-sql-injection, ruby-sql-injection-quoted-interpolation
    @orders = Order.where("state = '#{params[:state]}'")
    # ruleid: ruby-sql-injection
    @totals = Order.find_by_sql("SELECT * FROM orders WHERE total > " + params[:total])
    direction = params[:direction]
    # ruleid: ruby-sql-injection
    @sorted = Order.order("created_at #{direction}")
    # ruleid: ruby-sql-injection
    @raw = Order.order(Arel.sql(params[:sort]))
    condition = "total > #{params.fetch(:min)}"
    # ruleid: ruby-sql-injection
    rows = ActiveRecord::Base.connection.select_all(condition)
    # ruleid: ruby-sql-injection
    @listed = Order.where(["total > #{params[:min]} AND state = ?", params[:state]])
    render json: rows
  end

  def safe
    # ok: ruby-sql-injection, ruby-sql-injection-quoted-interpolation
    @a = Order.where("state = ?", params[:state])
    # ok: ruby-sql-injection, ruby-sql-injection-quoted-interpolation
    @b = Order.where(state: params[:state], kind: params[:kind])
    # ok: ruby-sql-injection
    @c = Order.where(["total > ?", params[:min]])
    # ok: ruby-sql-injection
    @d = Order.where("total > #{params[:min].to_i}")
    # ok: ruby-sql-injection
    @e = Order.order(SORTS.fetch(params[:sort], "created_at"))
    column = params[:column]
    return unless COLUMNS.include?(column)
    # ok: ruby-sql-injection
    @f = Order.order("#{column} DESC")
    order = Order.find(params[:id])
    # ok: ruby-sql-injection
    @g = Order.where("parent_id = #{order.parent_id}")
    # ok: ruby-sql-injection
    @h = Order.where("name LIKE ?", "%#{Order.sanitize_sql_like(params[:q])}%")
  end
end

class Order < ApplicationRecord
  def self.named(name)
    # ruleid: ruby-sql-injection-quoted-interpolation
    where("name LIKE '%#{name}%'")
  end

  def self.since(day)
    # ok: ruby-sql-injection-quoted-interpolation
    where("created_at > #{connection.quote(day)}")
  end
end
