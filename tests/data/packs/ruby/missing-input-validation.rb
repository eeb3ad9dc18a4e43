class UsersController < ApplicationController
  # ruleid: ruby-missing-input-validation-csrf
  skip_before_action :verify_authenticity_token
  # ok: ruby-missing-input-validation-csrf
  skip_before_action :verify_authenticity_token, only: [:webhook]
  # ok: ruby-missing-input-validation-csrf
  skip_before_action :require_login

  def create
    # ruleid: ruby-missing-input-validation-permit-all
    user = User.new(params.require(:user).permit!)
    # ruleid: ruby-missing-input-validation-permit-all
    all = params.permit!
    # ok: ruby-missing-input-validation-permit-all
    named = params.require(:user).permit(:name, :email)
    # ok: ruby-missing-input-validation-permit-all
    meta = params.require(:user).permit(meta: {})
    # ruleid: ruby-missing-input-validation-mass-assignment
    user.update(params[:user].to_unsafe_h)
    # ruleid: ruby-missing-input-validation-mass-assignment
    other = User.create(params.to_unsafe_h)
    # ok: ruby-missing-input-validation-mass-assignment
    user.update(named)
    # ok: ruby-missing-input-validation-mass-assignment
    logger.info(params.to_unsafe_h)
  end

  def reflect
    # ruleid: ruby-missing-input-validation-reflection
    kind = params[:kind].classify.constantize
    # ruleid: ruby-missing-input-validation-reflection
    value = record.send(params[:field])
    # ok: ruby-missing-input-validation-reflection
    safe = KINDS.fetch(params[:kind]).new
    field = params[:field]
    return head(:bad_request) unless FIELDS.include?(field)
    # ok: ruby-missing-input-validation-reflection
    known = record.public_send(field)
    # ok: ruby-missing-input-validation-reflection
    mailer.send(:deliver, params[:to])
  end

  def search
    # ruleid: ruby-missing-input-validation-regexp
    pattern = Regexp.new(params[:q], Regexp::IGNORECASE)
    text = params[:text]
    # ruleid: ruby-missing-input-validation-regexp
    other = Regexp.new("^#{text}")
    # ok: ruby-missing-input-validation-regexp
    escaped = Regexp.new(Regexp.escape(params[:q]))
    # ok: ruby-missing-input-validation-regexp
    fixed = Regexp.new("^[a-z]+$")
  end
end

class Host < ApplicationRecord
  # ruleid: ruby-missing-input-validation-line-anchors
  validates :name, presence: true, format: { with: /^[a-z]+$/, message: "is no name", multiline: true }
  # ruleid: ruby-missing-input-validation-line-anchors
  validates_format_of :zone, with: /^[a-z.]+$/i
  # ok: ruby-missing-input-validation-line-anchors
  validates :label, format: { with: /\A[a-z]+\z/ }
  # ok: ruby-missing-input-validation-line-anchors
  validates :port, numericality: { only_integer: true }
end

class HooksController < ApplicationController
  # ruleid: ruby-missing-input-validation-csrf
  skip_forgery_protection
end
